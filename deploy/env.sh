# Read by the shell of each of make's recipes, but those of containers: what .env says and the
# environment doesn't.
if [ -f .env ]; then
    said=$(export -p)
    set -a
    . ./.env
    set +a
    eval "$said"
fi

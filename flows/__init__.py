"""The order of a day: phases, retries, logging. What happens to data is in loaders/ and models/."""

import atexit
import gc
import os

# Set before Prefect, dbt or Great Expectations can be imported: each reads its own switch once.
for _switch, _value in {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
    "GX_ANALYTICS_ENABLED": "false",
}.items():
    os.environ.setdefault(_switch, _value)

# A proxy, of HTTP_PROXY and the like, can't reach Prefect's API on this machine, nor may it see its
# secret. Each library prefers the lower case.
_direct = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
if not {"*", "127.0.0.1"} & {*_direct.split(",")}:
    os.environ["no_proxy"] = f"{_direct},127.0.0.1,localhost".lstrip(",")

# They make hundreds of thousands of objects that stay: at Python's own threshold the collector
# looks through them so often that it takes a fifth of a small day, and twice more at the end.
gc.set_threshold(1_000_000)
atexit.register(gc.freeze)

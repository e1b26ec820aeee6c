"""The pages people open: read.py asks the warehouse, shapes.py and charts.py draw, write.py
renders the templates. All of it is read only, and none of it needs a network."""

-- Prefect's database, beside the warehouse's own: run once, when the volume is new.
create database prefect;

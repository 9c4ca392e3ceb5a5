"""The 51.x lessons: what is in them, the Airflow that they run in, and the pages made from them."""

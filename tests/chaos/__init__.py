"""Tests in which things die."""

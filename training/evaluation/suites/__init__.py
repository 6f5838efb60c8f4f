"""Benchmark suites: lists of benchmarks with what others reach on them, run as one and checked for leaks."""

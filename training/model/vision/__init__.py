"""Image encoders of EarthGPT and how their features become one grid."""

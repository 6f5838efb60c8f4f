"""HIT-UAV, in the four layouts that its users hold."""

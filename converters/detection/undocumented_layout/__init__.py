"""Box sets whose layout nobody described: images and labels are paired by what is there."""

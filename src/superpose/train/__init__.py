"""Training on images, on Lightning: what is learned is a `Task`, and one thin module trains any of them."""

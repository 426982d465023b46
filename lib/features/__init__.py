"""Image features: files, images and the CNN that extracts them."""

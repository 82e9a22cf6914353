"""File formats: a reader and writer of each; `denoisplit.images.files` chooses among them."""

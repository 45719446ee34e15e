"""What requests are about: uploaded photos, networks, and photos as networks saw them."""

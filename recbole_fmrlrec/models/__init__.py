"""The models of this package, as RecBole trains them."""

"""Generated stubs of protos/labsvc/shop/v1; `make protos` writes them again."""

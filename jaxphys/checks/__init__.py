"""Is it right, and how fast is it: behind `jaxphys verify` and `jaxphys bench`."""

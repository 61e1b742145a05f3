//! The parsers of untrusted bytes, opened to the fuzz targets in `fuzz`.

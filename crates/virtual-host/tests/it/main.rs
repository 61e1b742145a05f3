//! Boots real virtual hosts. The first run builds their root disk, which takes a minute or two;
//! later runs find it in the cache.

mod kvm;
mod machine;

//! Boots real virtual hosts, and looks at what goes into them. The first run builds their disks, which
//! takes minutes; later runs find them in the cache.

mod image;
mod kvm;
mod machine;

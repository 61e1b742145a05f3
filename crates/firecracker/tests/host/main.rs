//! Real Firecracker in its jail: runs as root inside the virtual host.

//! Real devices: runs as root inside the virtual host.

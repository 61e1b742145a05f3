//! Real namespaces and packets: runs as root inside the virtual host.

//! Builds and runs the QEMU machine that carries the host agent where KVM is not usable.

//! Gives the kernel's random number generator what the host sent, so that clones of one snapshot differ.

use std::{fs::File, io, os::fd::AsRawFd as _};

/// The most bytes that one `/init` may carry.
pub(crate) const MAX_BYTES: usize = 256;
/// The least that make a difference.
pub(crate) const MIN_BYTES: usize = 32;

// linux/random.h: _IOW('R', 0x03, int[2]) and _IO('R', 0x07)
const RNDADDENTROPY: libc::c_ulong = 0x4008_5203;
const RNDRESEEDCRNG: libc::c_ulong = 0x5207;

/// `struct rand_pool_info` with its flexible array at full length.
#[repr(C)]
struct PoolInfo {
    entropy_bits: i32,
    bytes: i32,
    buffer: [u8; MAX_BYTES],
}

const _: () = assert!(size_of::<PoolInfo>() == 8 + MAX_BYTES);

/// Credits `seed` in full and reseeds the generator at once.
pub(crate) fn credit(seed: &[u8]) -> io::Result<()> {
    let length = i32::try_from(seed.len()).unwrap_or(i32::MAX);
    let mut info = PoolInfo {
        entropy_bits: length.saturating_mul(8),
        bytes: length,
        buffer: [0; MAX_BYTES],
    };
    let Some(buffer) = info.buffer.get_mut(..seed.len()) else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the seed is too long",
        ));
    };
    buffer.copy_from_slice(seed);
    let device = File::options().write(true).open("/dev/urandom")?;
    // SAFETY: the descriptor is open, and the kernel reads `bytes` bytes of the buffer that follows the
    // two numbers, which the check above keeps within it.
    let added = unsafe { libc::ioctl(device.as_raw_fd(), RNDADDENTROPY, &raw const info) };
    if added != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the request takes no argument.
    let reseeded = unsafe { libc::ioctl(device.as_raw_fd(), RNDRESEEDCRNG) };
    if reseeded != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_takes_a_seed_and_an_oversized_one_is_refused() {
        credit(&[7; MIN_BYTES]).unwrap();
        assert!(credit(&[7; MAX_BYTES + 1]).is_err());
    }
}

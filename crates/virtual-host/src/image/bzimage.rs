//! Takes the ELF kernel out of a bzImage (`vmlinuz`), which is all that Firecracker boots.
//!
//! The file is treated as hostile: every offset is checked and the output is bounded.
//! Header fields are those of the Linux boot protocol, Documentation/arch/x86/boot.rst.

use std::io::{self, Read};

/// The largest kernel that is unpacked; Debian's is 51 MiB.
const LIMIT: usize = 256 << 20;
/// Block size of LZ4's legacy frame: each block but the last unpacks to exactly this.
const LZ4_BLOCK: usize = 8 << 20;

/// Why no kernel could be taken out of a `vmlinuz`.
#[derive(Debug, thiserror::Error)]
pub enum BzImageError {
    /// The file is shorter than its own header says.
    #[error("the kernel image ends before its {0}")]
    Short(&'static str),
    /// The boot sector signature or the `HdrS` magic is missing.
    #[error("the file is not an x86 kernel image")]
    NotAKernel,
    /// The boot protocol does not describe the payload.
    #[error("the kernel image uses boot protocol {0:#06x}, older than 2.08")]
    OldProtocol(u16),
    /// The payload is packed with none of gzip, xz, zstd and lz4.
    #[error("the kernel is packed in an unknown way (first bytes {0:02x?})")]
    UnknownPacking([u8; 4]),
    /// The payload is damaged.
    #[error("unpacking the {0} payload of the kernel image")]
    Damaged(&'static str, #[source] io::Error),
    /// The payload unpacks to more than 256 MiB.
    #[error("the kernel unpacks to more than {} MiB", LIMIT >> 20)]
    TooLarge,
    /// The payload does not unpack to the length that the image records.
    #[error("the kernel unpacks to {got} bytes where its image says {want}")]
    Length { got: usize, want: u32 },
    /// What was packed is not a 64-bit x86 ELF file.
    #[error("the unpacked kernel is not an x86-64 ELF file")]
    NotElf,
}

/// The ELF `vmlinux` inside the bzImage `image`.
pub(crate) fn vmlinux(image: &[u8]) -> Result<Vec<u8>, BzImageError> {
    let payload = payload(image)?;
    let kernel = unpack(payload)?;
    // The build appends the unpacked length to the payload, for every packing.
    let want = u32_at(payload, payload.len() - 4, "payload length")?;
    if usize::try_from(want) != Ok(kernel.len()) {
        return Err(BzImageError::Length {
            got: kernel.len(),
            want,
        });
    }
    let is_elf64 = kernel.starts_with(b"\x7fELF\x02\x01");
    let is_x86_64 = kernel.get(18..20) == Some(&[62, 0]);
    if !(is_elf64 && is_x86_64) {
        return Err(BzImageError::NotElf);
    }
    Ok(kernel)
}

fn payload(image: &[u8]) -> Result<&[u8], BzImageError> {
    if image.get(0x1fe..0x200) != Some(&[0x55, 0xaa]) || image.get(0x202..0x206) != Some(b"HdrS") {
        return Err(BzImageError::NotAKernel);
    }
    let protocol = image
        .get(0x206..0x208)
        .ok_or(BzImageError::Short("version"))?;
    let protocol = u16::from_le_bytes([protocol[0], protocol[1]]);
    if protocol < 0x0208 {
        return Err(BzImageError::OldProtocol(protocol));
    }
    let sectors = match image[0x1f1] {
        0 => 4,
        n => usize::from(n),
    };
    let offset = u32_at(image, 0x248, "payload offset")? as usize;
    let length = u32_at(image, 0x24c, "payload length")? as usize;
    let start = (sectors + 1) * 512 + offset;
    match image.get(start..).and_then(|rest| rest.get(..length)) {
        Some(payload) if payload.len() >= 8 => Ok(payload),
        _ => Err(BzImageError::Short("payload")),
    }
}

fn u32_at(bytes: &[u8], at: usize, what: &'static str) -> Result<u32, BzImageError> {
    match bytes.get(at..at + 4) {
        Some(&[a, b, c, d]) => Ok(u32::from_le_bytes([a, b, c, d])),
        _ => Err(BzImageError::Short(what)),
    }
}

fn unpack(payload: &[u8]) -> Result<Vec<u8>, BzImageError> {
    match *payload {
        [0x1f, 0x8b, ..] => read("gzip", flate2::read::GzDecoder::new(payload)),
        [0xfd, b'7', b'z', b'X', ..] => read("xz", lzma_rust2::XzReader::new(payload, false)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            let decoder = zstd::Decoder::with_buffer(payload);
            read(
                "zstd",
                decoder
                    .map_err(|e| BzImageError::Damaged("zstd", e))?
                    .single_frame(),
            )
        }
        [0x02, 0x21, 0x4c, 0x18, ..] => lz4_legacy(&payload[4..]),
        [a, b, c, d, ..] => Err(BzImageError::UnknownPacking([a, b, c, d])),
        _ => Err(BzImageError::Short("payload")),
    }
}

fn read(packing: &'static str, decoder: impl Read) -> Result<Vec<u8>, BzImageError> {
    let mut kernel = Vec::new();
    decoder
        .take(LIMIT as u64 + 1)
        .read_to_end(&mut kernel)
        .map_err(|e| BzImageError::Damaged(packing, e))?;
    if kernel.len() > LIMIT {
        return Err(BzImageError::TooLarge);
    }
    Ok(kernel)
}

/// Blocks of `u32 length, data`; a length that is more than what is left is the appended length of
/// the whole kernel and ends the frame.
fn lz4_legacy(mut rest: &[u8]) -> Result<Vec<u8>, BzImageError> {
    let mut kernel = Vec::new();
    let mut block = vec![0; LZ4_BLOCK];
    while rest.len() >= 4 {
        let length = u32_at(rest, 0, "block length")? as usize;
        let Some(packed) = rest[4..].get(..length) else {
            break;
        };
        let n = lz4_flex::block::decompress_into(packed, &mut block)
            .map_err(|e| BzImageError::Damaged("lz4", io::Error::other(e)))?;
        if kernel.len() + n > LIMIT {
            return Err(BzImageError::TooLarge);
        }
        kernel.extend_from_slice(&block[..n]);
        rest = &rest[4 + length..];
    }
    Ok(kernel)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn elf() -> Vec<u8> {
        let mut elf = b"\x7fELF\x02\x01".to_vec();
        elf.resize(20, 0);
        elf[18] = 62;
        elf.extend((0..100_000u32).flat_map(|n| (n / 7).to_le_bytes()));
        elf
    }

    fn image(packed: &[u8], length: u32) -> Vec<u8> {
        let mut image = vec![0; 1024];
        image[0x1f1] = 1;
        image[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x206..0x208].copy_from_slice(&0x020fu16.to_le_bytes());
        image[0x248..0x24c].copy_from_slice(&16u32.to_le_bytes());
        image[0x24c..0x250].copy_from_slice(&(packed.len() as u32 + 4).to_le_bytes());
        image.resize(1024 + 16, 0xcc);
        image.extend_from_slice(packed);
        image.extend_from_slice(&length.to_le_bytes());
        image.extend_from_slice(b"what follows the payload");
        image
    }

    fn check(packed: &[u8]) {
        let unpacked = vmlinux(&image(packed, elf().len() as u32)).unwrap();
        assert!(unpacked == elf(), "the kernel comes out as it went in");
    }

    fn lz4(plain: &[u8]) -> Vec<u8> {
        // One literal-only sequence a block: valid LZ4 without a compressor.
        let mut packed = vec![0x02, 0x21, 0x4c, 0x18];
        let mut block = vec![0xf0];
        let mut left = plain.len() - 15;
        while left >= 255 {
            block.push(255);
            left -= 255;
        }
        block.push(left as u8);
        block.extend_from_slice(plain);
        packed.extend_from_slice(&(block.len() as u32).to_le_bytes());
        packed.extend_from_slice(&block);
        packed
    }

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_gzip_kernel_is_unpacked() {
        check(&gzip(&elf()));
    }

    #[test]
    fn a_zstd_kernel_is_unpacked() {
        check(&zstd::encode_all(elf().as_slice(), 1).unwrap());
    }

    #[test]
    fn an_lz4_kernel_is_unpacked() {
        check(&lz4(&elf()));
    }

    #[test]
    fn an_image_cut_anywhere_is_an_error_and_never_a_panic() {
        for packed in [gzip(&elf()), lz4(&elf())] {
            let whole = image(&packed, elf().len() as u32);
            let end = whole.len() - b"what follows the payload".len();
            for cut in (0..end).step_by(997).chain(0x1f0..0x260).chain([end - 1]) {
                assert!(vmlinux(&whole[..cut]).is_err(), "cut at {cut}");
            }
        }
    }

    #[test]
    fn damaged_headers_are_errors_and_never_panics() {
        let whole = image(&gzip(&elf()), elf().len() as u32);
        for at in (0x1f1..0x208).chain(0x248..0x250) {
            for value in [0, 0x7f, 0xff] {
                let mut damaged = whole.clone();
                damaged[at] = value;
                let _ = vmlinux(&damaged);
            }
        }
    }

    #[test]
    fn a_wrong_recorded_length_is_refused() {
        let error = vmlinux(&image(&gzip(&elf()), 5)).unwrap_err();
        assert!(
            matches!(error, BzImageError::Length { want: 5, .. }),
            "{error}"
        );
    }

    #[test]
    fn something_else_than_a_kernel_is_refused() {
        assert!(matches!(vmlinux(b"MZ"), Err(BzImageError::NotAKernel)));
        let text = b"no kernel at all".repeat(10);
        let packed = image(&gzip(&text), text.len() as u32);
        assert!(matches!(vmlinux(&packed), Err(BzImageError::NotElf)));
        let unknown = image(b"BZh9 and more", 1);
        assert!(matches!(
            vmlinux(&unknown),
            Err(BzImageError::UnknownPacking(_))
        ));
    }
}

//! What a snapshot's memory is made of, for people.

use std::{os::unix::fs::MetadataExt, path::Path};

use crate::{
    LayerId, SnapshotError, Source, read_mapping,
    snapshot::{OpenLayer, open_layers},
};

/// A snapshot's memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Pages of the guest.
    pub pages: u64,
    /// How many of them are zero without being stored.
    pub zero_pages: u64,
    /// Runs of the mapping.
    pub runs: usize,
    /// The layers, oldest first.
    pub layers: Vec<LayerDescription>,
}

/// A layer of a snapshot's memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerDescription {
    /// Its name.
    pub id: LayerId,
    /// Length of its file.
    pub apparent_bytes: u64,
    /// What its file takes of the disk.
    pub allocated_bytes: u64,
    /// Pages of the guest that are seen in it.
    pub pages: u64,
}

/// Describes the snapshot in `directory`.
///
/// # Errors
/// When its header or a layer is missing or damaged.
pub fn describe(directory: &Path) -> Result<Description, SnapshotError> {
    let mapping = read_mapping(directory)?;
    let layers = open_layers(directory, &mapping)?;
    let zero = mapping.runs().iter();
    let zero = zero.filter(|run| run.source == Source::Zero);
    Ok(Description {
        pages: mapping.pages(),
        zero_pages: zero.map(|run| run.pages).sum(),
        runs: mapping.runs().len(),
        layers: layers.iter().map(of_layer).collect::<Result<_, _>>()?,
    })
}

fn of_layer(layer: &OpenLayer) -> Result<LayerDescription, SnapshotError> {
    let failed = |source| SnapshotError::Layer {
        layer: layer.id,
        source,
    };
    let metadata = layer.file.metadata().map_err(failed)?;
    Ok(LayerDescription {
        id: layer.id,
        apparent_bytes: metadata.len(),
        allocated_bytes: metadata.blocks() * 512,
        pages: layer.pages,
    })
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::FileExt};

    use super::*;
    use crate::{HEADER_FILE, Mapping, PAGE_BYTES, Written, header, layer_file};

    #[test]
    fn a_snapshot_is_described_and_a_damaged_one_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path();
        let layer = LayerId::from_bytes([7; 16]);
        let written = [Written::Data {
            pages: 2..5,
            at: 10,
        }];
        let mapping = Mapping::zero(64).unwrap().overlaid(layer, &written);
        fs::write(
            directory.join(HEADER_FILE),
            header::encode(&mapping.unwrap()),
        )
        .unwrap();
        assert!(matches!(
            describe(directory),
            Err(SnapshotError::Layer { .. })
        ));
        let file = fs::File::create(directory.join(layer_file(layer))).unwrap();
        file.set_len(12 * PAGE_BYTES).unwrap();
        assert!(matches!(
            describe(directory),
            Err(SnapshotError::Short { found: 49152, needed: 53248, layer: short }) if short == layer
        ));
        file.set_len(64 * PAGE_BYTES).unwrap();
        file.write_all_at(&[1; 3 * PAGE_BYTES as usize], 10 * PAGE_BYTES)
            .unwrap();
        file.sync_all().unwrap();
        let found = describe(directory).unwrap();
        let allocated_bytes = found.layers[0].allocated_bytes;
        assert!(
            (3 * PAGE_BYTES..64 * PAGE_BYTES).contains(&allocated_bytes),
            "{allocated_bytes}"
        );
        let expected = Description {
            pages: 64,
            zero_pages: 61,
            runs: 3,
            layers: vec![LayerDescription {
                id: layer,
                apparent_bytes: 64 * PAGE_BYTES,
                allocated_bytes,
                pages: 3,
            }],
        };
        assert_eq!(found, expected);
        fs::write(
            directory.join(HEADER_FILE),
            vec![0; header::MAX_BYTES + 100],
        )
        .unwrap();
        assert!(matches!(
            describe(directory),
            Err(SnapshotError::Header { .. })
        ));
        fs::remove_file(directory.join(HEADER_FILE)).unwrap();
        assert!(matches!(
            describe(directory),
            Err(SnapshotError::Read { .. })
        ));
    }
}

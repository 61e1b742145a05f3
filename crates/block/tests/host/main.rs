//! Real devices: runs as root inside the virtual host.
//!
//! Devices are global to the host, so the tests run one at a time.

#![expect(clippy::unwrap_used, reason = "in a test, failing is the answer")]

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::MutexGuard;
use wrenn_block::{
    Access, Base, BlockStore, Census, CowFile, DeviceName, DiskSize, Error, Leftover, LoopDevice,
    Reaper, SnapshotDevice, SnapshotUsage, census,
};

static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
const BASE_MIB: u32 = 8;

struct Fixture {
    _alone: MutexGuard<'static, ()>,
    dir: tempfile::TempDir,
    base: PathBuf,
    store: BlockStore,
    reaper: Reaper,
    reaped: Arc<Mutex<Vec<Leftover>>>,
}

impl Fixture {
    async fn new() -> Self {
        let alone = ALONE.lock().await;
        let dir = tempfile::tempdir_in("/var/lib/wrenn").unwrap();
        let base = dir.path().join("rootfs.ext4");
        // Each block of the base is filled with its own number.
        let mut file = File::create(&base).unwrap();
        for block in 0..u64::from(BASE_MIB) << 8 {
            file.write_all(&block.to_le_bytes().repeat(512)).unwrap();
        }
        let reaped = Arc::new(Mutex::new(Vec::new()));
        let sink = reaped.clone();
        let reaper: Reaper = Arc::new(move |leftover| sink.lock().unwrap().push(leftover));
        Self {
            _alone: alone,
            dir,
            base,
            store: BlockStore::new(reaper.clone()),
            reaper,
            reaped,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    async fn cow(&self, name: &str, size: DiskSize) -> CowFile {
        CowFile::create(&self.path(name), size, self.reaper.clone())
            .await
            .unwrap()
    }

    async fn disk(&self, name: &str, mib: u32) -> (SnapshotDevice, CowFile) {
        let size = DiskSize::mib(mib).unwrap();
        let cow = self.cow(&format!("{name}.cow"), size).await;
        let name = DeviceName::new(name).unwrap();
        (
            self.store
                .attach(&name, &self.base, cow.path(), size)
                .await
                .unwrap(),
            cow,
        )
    }

    async fn census(&self) -> Census {
        census(self.dir.path()).await.unwrap()
    }

    fn reaped(&self) -> Vec<Leftover> {
        std::mem::take(&mut self.reaped.lock().unwrap())
    }
}

fn read_block(device: &SnapshotDevice, block: u64) -> [u8; 4096] {
    let mut bytes = [0; 4096];
    File::open(device.path())
        .unwrap()
        .read_exact_at(&mut bytes, block * 4096)
        .unwrap();
    bytes
}

fn write_block(device: &SnapshotDevice, block: u64, bytes: &[u8; 4096]) {
    let file = File::options().write(true).open(device.path()).unwrap();
    file.write_all_at(bytes, block * 4096).unwrap();
    file.sync_all().unwrap();
}

fn base_block(block: u64) -> [u8; 4096] {
    block.to_le_bytes().repeat(512).try_into().unwrap()
}

#[tokio::test]
async fn a_disk_shows_its_base_then_zeros_and_keeps_what_is_written() {
    let fixture = Fixture::new().await;
    let before = fixture.census().await;
    let (disk, cow) = fixture.disk("grown", 5120).await;
    let mut length = String::new();
    let sys = format!("/sys/dev/block/{}/size", disk.device_number());
    File::open(sys)
        .unwrap()
        .read_to_string(&mut length)
        .unwrap();
    assert_eq!(length.trim(), (5120u64 << 11).to_string(), "sectors");

    let end_of_base = u64::from(BASE_MIB) << 8;
    assert_eq!(read_block(&disk, 0), base_block(0));
    assert_eq!(
        read_block(&disk, end_of_base - 1),
        base_block(end_of_base - 1)
    );
    assert_eq!(read_block(&disk, end_of_base), [0; 4096]);
    assert_eq!(read_block(&disk, (5120 << 8) - 1), [0; 4096]);

    write_block(&disk, 3, &[7; 4096]);
    write_block(&disk, (5120 << 8) - 1, &[9; 4096]);
    assert_eq!(read_block(&disk, 3), [7; 4096]);
    assert_eq!(
        std::fs::read(&fixture.base).unwrap()[3 * 4096..4 * 4096],
        base_block(3),
        "the base is untouched"
    );
    assert!(
        cow.allocated_bytes().unwrap() < 1 << 20,
        "only what was written takes space"
    );
    let SnapshotUsage::Used { bytes, total } = disk.usage().await.unwrap() else {
        panic!("valid")
    };
    assert!(
        bytes >= 2 * 4096 && total >= 5120 << 20,
        "{bytes} of {total}"
    );

    disk.release().await.unwrap();
    cow.release().await.unwrap();
    assert_eq!(fixture.census().await, before);
    assert!(fixture.reaped().is_empty());
}

#[tokio::test]
async fn what_was_written_survives_release_and_is_seen_by_the_next_disk_of_that_cow() {
    let fixture = Fixture::new().await;
    let (disk, cow) = fixture.disk("first", 16).await;
    write_block(&disk, 100, &[1; 4096]);
    disk.suspend().await.unwrap();
    disk.resume().await.unwrap();
    disk.release().await.unwrap();
    let name = DeviceName::new("second").unwrap();
    let disk = fixture
        .store
        .attach(&name, &fixture.base, cow.path(), DiskSize::mib(16).unwrap())
        .await
        .unwrap();
    assert_eq!(read_block(&disk, 100), [1; 4096]);
    assert_eq!(read_block(&disk, 101), base_block(101));
    disk.release().await.unwrap();
    cow.release().await.unwrap();
}

#[tokio::test]
async fn a_disk_over_a_kept_cow_changes_it_only_when_merged() {
    let fixture = Fixture::new().await;
    let before = fixture.census().await;
    let size = DiskSize::mib(16).unwrap();
    let (disk, cow) = fixture.disk("kept", 16).await;
    write_block(&disk, 1, &[1; 4096]);
    disk.release().await.unwrap();
    let kept = std::fs::read(cow.path()).unwrap();
    let name = DeviceName::new("kept").unwrap();
    let (store, base) = (&fixture.store, &fixture.base);

    let scratch = fixture.cow("kept.scratch", size).await;
    let disk = store
        .attach_over(&name, base, cow.path(), scratch.path(), size)
        .await
        .unwrap();
    assert_eq!(read_block(&disk, 1), [1; 4096]);
    write_block(&disk, 1, &[2; 4096]);
    write_block(&disk, 2, &[2; 4096]);
    assert_eq!(read_block(&disk, 1), [2; 4096]);
    disk.release().await.unwrap();
    scratch.release().await.unwrap();
    assert!(
        std::fs::read(cow.path()).unwrap() == kept,
        "not a byte of it changed"
    );

    let scratch = fixture.cow("kept.scratch", size).await;
    let disk = store
        .attach_over(&name, base, cow.path(), scratch.path(), size)
        .await
        .unwrap();
    write_block(&disk, 1, &[3; 4096]);
    write_block(&disk, 3, &[3; 4096]);
    disk.merge().await.unwrap();
    write_block(&disk, 4, &[4; 4096]);
    disk.merge().await.unwrap();
    // An agent that restarts finds it and may ask for the merge again.
    disk.detach();
    let later = BlockStore::new(fixture.reaper.clone());
    let disk = later
        .adopt_over(&name, cow.path(), scratch.path(), size)
        .await
        .unwrap();
    disk.merge().await.unwrap();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    disk.merged(deadline).await.unwrap();
    let expected = [[0; 4096], [3; 4096], base_block(2), [3; 4096], [4; 4096]];
    for block in 1..5 {
        assert_eq!(read_block(&disk, block), expected[block as usize]);
    }
    disk.release().await.unwrap();
    scratch.release().await.unwrap();

    let disk = later.attach(&name, base, cow.path(), size).await.unwrap();
    for block in 1..5 {
        assert_eq!(read_block(&disk, block), expected[block as usize]);
    }
    disk.release().await.unwrap();
    cow.release().await.unwrap();
    assert_eq!(fixture.census().await, before);
}

#[tokio::test]
async fn clones_share_what_was_written_before_them_and_are_found_again() {
    for mib in [BASE_MIB, 16] {
        let fixture = Fixture::new().await;
        let before = fixture.census().await;
        let size = DiskSize::mib(mib).unwrap();
        let mut base = Base::from(&fixture.base);
        // Two generations, each written over the one before and then frozen.
        for generation in 1..=2 {
            let cow = fixture.cow(&format!("frozen-{generation}"), size).await;
            let name = DeviceName::new("parent").unwrap();
            let attached = fixture.store.attach(&name, base.clone(), cow.path(), size);
            let disk = attached.await.unwrap();
            write_block(&disk, generation, &[generation as u8; 4096]);
            write_block(&disk, 9, &[generation as u8; 4096]);
            disk.release().await.unwrap();
            base.frozen.push(cow.path().to_owned());
            cow.keep();
        }
        assert_eq!(fixture.census().await, before);
        let kept: Vec<_> = base
            .frozen
            .iter()
            .map(|path| std::fs::read(path).unwrap())
            .collect();

        let names: Vec<_> = (0..4)
            .map(|i| DeviceName::new(&format!("clone-{i}")).unwrap())
            .collect();
        let mut clones = Vec::new();
        for (i, name) in names.iter().enumerate() {
            let cow = fixture.cow(&format!("clone-{i}.cow"), size).await;
            let attached = fixture.store.attach(name, base.clone(), cow.path(), size);
            clones.push((attached.await.unwrap(), cow));
        }
        let found = fixture.census().await;
        let grown = usize::from(mib != BASE_MIB);
        assert_eq!(
            (found.dm.len(), found.loops.len()),
            (4 + 2 + grown, 4 + 2 + 1)
        );
        for (i, (disk, _)) in clones.iter().enumerate() {
            assert_eq!(read_block(disk, 1), [1; 4096]);
            assert_eq!(read_block(disk, 2), [2; 4096]);
            assert_eq!(read_block(disk, 3), base_block(3));
            assert_eq!(read_block(disk, 9), [2; 4096]);
            write_block(disk, 9, &[i as u8 + 10; 4096]);
        }

        // A restarted agent finds one again and has lost the others.
        let mut cows = Vec::new();
        for (disk, cow) in clones {
            disk.detach();
            cows.push(cow);
        }
        let later = BlockStore::new(fixture.reaper.clone());
        let disk = later.adopt(&names[0], cows[0].path(), size).await.unwrap();
        let (swept, failed) = later.sweep(fixture.dir.path()).await.unwrap();
        assert!(failed.is_empty(), "{failed:?}");
        assert_eq!(
            swept.len(),
            3 * 2,
            "a snapshot and a CoW file each: {swept:?}"
        );
        assert_eq!(read_block(&disk, 9), [10; 4096]);
        assert_eq!(read_block(&disk, 1), [1; 4096]);

        // A disk of the same base without the frozen files is another one.
        let plain = fixture.cow("plain", size).await;
        let name = DeviceName::new("plain").unwrap();
        let other = later
            .attach(&name, &fixture.base, plain.path(), size)
            .await
            .unwrap();
        assert_eq!(read_block(&other, 1), base_block(1));
        other.release().await.unwrap();
        plain.release().await.unwrap();

        // What is read without any device is what the device shows.
        disk.suspend().await.unwrap();
        disk.resume().await.unwrap();
        let mut shown = vec![0; size.as_bytes() as usize];
        File::open(disk.path())
            .unwrap()
            .read_exact(&mut shown)
            .unwrap();
        let stack: Vec<_> = base.frozen.iter().map(PathBuf::as_path).collect();
        let whole: Vec<_> = stack.iter().copied().chain([cows[0].path()]).collect();
        let flat = fixture.path("flat");
        wrenn_block::flatten(&fixture.base, &whole, &flat, size).unwrap();
        assert!(std::fs::read(&flat).unwrap() == shown);
        let merged = fixture.path("merged");
        wrenn_block::merge(&whole, &merged, size).unwrap();
        disk.release().await.unwrap();
        assert_eq!(
            fixture.census().await,
            before,
            "everything went with the last clone"
        );

        // The kernel reads what was merged, and writes on.
        let attached = later.attach(&names[1], &fixture.base, &merged, size).await;
        let disk = attached.unwrap();
        let mut read = vec![0; shown.len()];
        File::open(disk.path())
            .unwrap()
            .read_exact(&mut read)
            .unwrap();
        assert!(read == shown);
        write_block(&disk, 11, &[11; 4096]);
        disk.release().await.unwrap();
        let disk = later
            .attach(&names[1], &fixture.base, &merged, size)
            .await
            .unwrap();
        assert_eq!(
            (read_block(&disk, 11), read_block(&disk, 9)),
            ([11; 4096], [10; 4096])
        );
        disk.release().await.unwrap();

        // All lost at once: taken down in an order that works.
        let attached = later
            .attach(&names[2], base.clone(), cows[2].path(), size)
            .await;
        attached.unwrap().detach();
        let (swept, failed) = BlockStore::new(fixture.reaper.clone())
            .sweep(fixture.dir.path())
            .await
            .unwrap();
        assert!(
            failed.is_empty() && swept.len() == 4 + grown + 3,
            "{swept:?} {failed:?}"
        );
        assert_eq!(fixture.census().await, before);
        let now: Vec<_> = base
            .frozen
            .iter()
            .map(|path| std::fs::read(path).unwrap())
            .collect();
        assert!(now == kept, "not a byte of a frozen file changed");
        assert!(fixture.reaped().is_empty());
        for cow in cows {
            cow.release().await.unwrap();
        }
    }
}

#[tokio::test]
async fn many_disks_at_once_share_one_base_device_and_do_not_see_each_other() {
    let fixture = Fixture::new().await;
    let before = fixture.census().await;
    let names: Vec<_> = (0..12).map(|i| format!("many-{i}")).collect();
    let sizes = [BASE_MIB, 16, 32];
    let disks = names
        .iter()
        .enumerate()
        .map(|(i, name)| fixture.disk(name, sizes[i % 3]));
    let disks = futures::future::join_all(disks).await;
    let found = fixture.census().await;
    let over_base = found
        .loops
        .iter()
        .filter(|entry| entry.backing == fixture.base)
        .count();
    assert_eq!((over_base, found.loops.len()), (1, 13));
    assert_eq!(
        found.dm.len(),
        12 + 2,
        "a snapshot each, and an origin for each size beyond the base's"
    );
    for (i, (disk, _)) in disks.iter().enumerate() {
        write_block(disk, 5, &[i as u8 + 1; 4096]);
    }
    for (i, (disk, _)) in disks.iter().enumerate() {
        assert_eq!(read_block(disk, 5), [i as u8 + 1; 4096]);
    }
    for (disk, cow) in disks {
        disk.release().await.unwrap();
        cow.release().await.unwrap();
    }
    assert_eq!(fixture.census().await, before);
}

#[tokio::test]
async fn a_detached_disk_is_adopted_only_with_what_it_was_built_from() {
    let fixture = Fixture::new().await;
    let before = fixture.census().await;
    let (disk, cow) = fixture.disk("adopted", 16).await;
    let size = DiskSize::mib(16).unwrap();
    let name = disk.name().clone();
    write_block(&disk, 1, &[4; 4096]);
    disk.detach();

    let later = BlockStore::new(fixture.reaper.clone());
    let other = fixture.cow("other.cow", size).await;
    let absent = DeviceName::new("absent").unwrap();
    let bigger = DiskSize::mib(32).unwrap();
    for (name, cow, size) in [
        (&name, &other, size),
        (&name, &cow, bigger),
        (&absent, &cow, size),
    ] {
        let refused = later.adopt(name, cow.path(), size).await;
        assert!(
            matches!(refused, Err(Error::NotAdoptable { .. })),
            "{refused:?}"
        );
    }

    let disk = later.adopt(&name, cow.path(), size).await.unwrap();
    assert_eq!(read_block(&disk, 1), [4; 4096]);
    let (swept, failed) = later.sweep(fixture.dir.path()).await.unwrap();
    assert!(
        swept.is_empty() && failed.is_empty(),
        "{swept:?} {failed:?}"
    );
    disk.release().await.unwrap();
    cow.release().await.unwrap();
    other.release().await.unwrap();
    assert_eq!(fixture.census().await, before);
}

#[tokio::test]
async fn a_disk_keeps_its_base_when_another_file_takes_the_path() {
    let fixture = Fixture::new().await;
    let before = fixture.census().await;
    for mib in [BASE_MIB, 16] {
        let size = DiskSize::mib(mib).unwrap();
        let (disk, cow) = fixture.disk("old", mib).await;
        let name = disk.name().clone();
        disk.detach();
        let newer = fixture.path("newer");
        let fill = [mib as u8; 4096];
        std::fs::write(&newer, fill.repeat((BASE_MIB as usize) << 8)).unwrap();
        std::fs::rename(&newer, &fixture.base).unwrap();

        let later = BlockStore::new(fixture.reaper.clone());
        let old = later.adopt(&name, cow.path(), size).await.unwrap();
        let new_cow = fixture.cow("new.cow", size).await;
        let new_name = DeviceName::new("new").unwrap();
        let new = later
            .attach(&new_name, &fixture.base, new_cow.path(), size)
            .await
            .unwrap();
        let (swept, failed) = later.sweep(fixture.dir.path()).await.unwrap();
        assert!(
            swept.is_empty() && failed.is_empty(),
            "{swept:?} {failed:?}"
        );
        assert_ne!(read_block(&old, 1), fill);
        assert_eq!(read_block(&new, 1), fill);
        for (disk, cow) in [(old, cow), (new, new_cow)] {
            disk.release().await.unwrap();
            cow.release().await.unwrap();
        }
        assert_eq!(fixture.census().await, before);
    }
}

#[tokio::test]
async fn a_sweep_removes_what_a_crash_left_and_nothing_else() {
    let fixture = Fixture::new().await;
    let (lost, lost_cow) = fixture.disk("lost", 16).await;
    lost.detach();
    let elsewhere = tempfile::tempdir_in("/var/lib/wrenn").unwrap();
    let foreign = elsewhere.path().join("file");
    File::create(&foreign).unwrap().set_len(1 << 20).unwrap();
    let foreign = LoopDevice::attach(&foreign, Access::ReadWriteDirect, fixture.reaper.clone())
        .await
        .unwrap();

    let later = BlockStore::new(fixture.reaper.clone());
    let size = DiskSize::mib(32).unwrap();
    let cow = fixture.cow("kept.cow", size).await;
    let kept = later
        .attach(
            &DeviceName::new("kept").unwrap(),
            &fixture.base,
            cow.path(),
            size,
        )
        .await
        .unwrap();
    let (swept, failed) = later.sweep(fixture.dir.path()).await.unwrap();
    assert!(failed.is_empty(), "{failed:?}");
    assert_eq!(
        swept.len(),
        3,
        "snapshot, its origin, its CoW loop device; the base is in use: {swept:?}"
    );
    assert_eq!(read_block(&kept, 0), base_block(0));
    assert!(foreign.path().exists());
    kept.release().await.unwrap();
    foreign.release().await.unwrap();
    lost_cow.release().await.unwrap();
    cow.release().await.unwrap();
    assert_eq!(fixture.census().await, Census::default());
}

#[tokio::test]
async fn a_disk_that_is_given_up_half_way_leaves_nothing() {
    let fixture = Fixture::new().await;
    let before = fixture.census().await;
    let size = DiskSize::mib(16).unwrap();
    for step in 0..20 {
        let cow = fixture.cow(&format!("{step}.cow"), size).await;
        let name = DeviceName::new(&format!("given-up-{step}")).unwrap();
        let attaching = fixture.store.attach(&name, &fixture.base, cow.path(), size);
        let patience = Duration::from_millis(2 * step);
        drop(tokio::time::timeout(patience, attaching).await);
    }
    let mut leftovers = Vec::new();
    let clean = async {
        while fixture.census().await != before {
            leftovers.extend(fixture.reaped());
            // A device is busy until what stands on it is gone; as the reaper does, ask again.
            let mut busy = Vec::new();
            for mut leftover in std::mem::take(&mut leftovers) {
                if leftover.clean().await.is_err() {
                    busy.push(leftover);
                }
            }
            leftovers = busy;
        }
    };
    let cleaned = tokio::time::timeout(Duration::from_secs(60), clean).await;
    assert!(
        cleaned.is_ok(),
        "left: {:?}, of which reaped: {leftovers:?}; {:?}",
        fixture.census().await,
        fixture.store,
    );
}

#[tokio::test]
async fn a_busy_disk_goes_to_the_reaper_whole_and_can_be_cleaned_later() {
    let fixture = Fixture::new().await;
    let before = fixture.census().await;
    let (disk, cow) = fixture.disk("busy", 16).await;
    let user = File::open(disk.path()).unwrap();
    let error = disk.release().await.unwrap_err();
    assert!(error.to_string().contains("remove wrenn-busy"), "{error}");
    let mut left = fixture.reaped();
    assert_eq!(left.len(), 1);
    assert!(left[0].clean().await.is_err());
    drop(user);
    left[0].clean().await.unwrap();
    cow.release().await.unwrap();
    assert_eq!(fixture.census().await, before);
}

#[tokio::test]
async fn a_dropped_disk_is_reaped_and_a_failed_one_undone() {
    let fixture = Fixture::new().await;
    let before = fixture.census().await;
    let (disk, cow) = fixture.disk("twice", 16).await;
    let size = DiskSize::mib(16).unwrap();
    let second = fixture.cow("second.cow", size).await;
    let taken = fixture
        .store
        .attach(disk.name(), &fixture.base, second.path(), size)
        .await;
    assert!(matches!(taken, Err(Error::Dm { .. })), "{taken:?}");
    assert_eq!(
        fixture.census().await.loops.len(),
        2,
        "only the first disk's"
    );
    let small = DiskSize::mib(4).unwrap();
    let name = DeviceName::new("small").unwrap();
    assert!(matches!(
        fixture
            .store
            .attach(&name, &fixture.base, second.path(), small)
            .await,
        Err(Error::SmallerThanBase { .. })
    ));
    // The device is made by then, and its table refused.
    let rubbish = fixture.cow("rubbish.cow", size).await;
    File::options()
        .write(true)
        .open(rubbish.path())
        .unwrap()
        .write_all(&[0xee; 4096])
        .unwrap();
    let name = DeviceName::new("rubbish").unwrap();
    let refused = fixture
        .store
        .attach(&name, &fixture.base, rubbish.path(), size)
        .await;
    assert!(matches!(refused, Err(Error::Dm { .. })), "{refused:?}");
    assert_eq!(
        fixture.census().await.loops.len(),
        2,
        "only the first disk's"
    );
    assert!(fixture.reaped().is_empty());
    drop((disk, cow, second, rubbish));
    for mut leftover in fixture.reaped() {
        leftover.clean().await.unwrap();
    }
    assert_eq!(fixture.census().await, before);
    assert_eq!(std::fs::metadata(&fixture.base).unwrap().nlink(), 1);
}

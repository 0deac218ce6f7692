// SPDX-License-Identifier: GPL-2.0
//! What is on a device already, so that nobody loses it by a mistyped name.

use vexfs::libvexfs::journal::host::Disk;
use vexfs::libvexfs::journal::BLOCK_SIZE;

/// Offset, bytes, name.
const SIGNATURES: &[(usize, &[u8], &str)] = &[
    (8, b"VEXFS\0\0", "a VexFS file system"),
    (0x438, b"\x53\xef", "an ext2, ext3 or ext4 file system"),
    (0, b"XFSB", "an XFS file system"),
    (0x1_0040, b"_BHRfS_M", "a btrfs file system"),
    (0x400, b"\x10\x20\xf5\xf2", "an F2FS file system"),
    (3, b"NTFS    ", "an NTFS file system"),
    (3, b"EXFAT   ", "an exFAT file system"),
    (82, b"FAT32", "a FAT file system"),
    (54, b"FAT1", "a FAT file system"),
    (0x400, b"\xe2\xe1\xf5\xe0", "an EROFS file system"),
    (0, b"hsqs", "a SquashFS file system"),
    (0x8001, b"CD001", "an ISO 9660 file system"),
    (4086, b"SWAPSPACE2", "swap space"),
    (0, b"LUKS\xba\xbe", "a LUKS container"),
    (0x200, b"LABELONE", "an LVM physical volume"),
    (0x1000, b"\xfc\x4e\x2b\xa9", "a RAID member"),
    (0x200, b"EFI PART", "a partition table"),
    (510, b"\x55\xaa", "a partition table"),
];

/// How much of the device the signatures are looked for in.
const BLOCKS: usize = 17;

/// Names what was found, if anything was.
pub fn probe(disk: &impl Disk) -> Option<&'static str> {
    let mut head = vec![0; BLOCKS * BLOCK_SIZE];
    // What cannot be read holds nothing that could be recognised; writing will say what is wrong.
    disk.read(0, &mut head).ok()?;
    SIGNATURES
        .iter()
        .find(|(at, bytes, _)| head[*at..].starts_with(bytes))
        .map(|(_, _, name)| *name)
}

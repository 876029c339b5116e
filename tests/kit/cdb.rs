//! Writes constant databases as cdbmake(1) does; for the unit tests and the fuzz targets.

/// The hash of a key.
fn hash(key: &[u8]) -> u32 {
    let step = |hash: u32, byte: &u8| hash.wrapping_mul(33) ^ u32::from(*byte);
    key.iter().fold(5381, step)
}

/// A file with these records: keys and data.
pub(crate) fn made(records: &[(&[u8], &[u8])]) -> Vec<u8> {
    let le = |number: usize| u32::try_from(number).unwrap().to_le_bytes();
    let mut file = vec![0; 2048];
    let mut places = Vec::new();
    for (key, data) in records {
        places.push((hash(key), file.len()));
        file.extend([&le(key.len())[..], &le(data.len()), key, data].concat());
    }
    for table in 0..256 {
        let here = places.iter().filter(|(hash, _)| hash & 255 == table);
        let here: Vec<_> = here.collect();
        let count = here.len() * 2;
        let mut slots = vec![[0; 8]; count];
        for (hash, place) in here {
            let mut slot = (hash >> 8) as usize % count;
            while slots[slot] != [0; 8] {
                slot = (slot + 1) % count;
            }
            slots[slot][..4].copy_from_slice(&hash.to_le_bytes());
            slots[slot][4..].copy_from_slice(&le(*place));
        }
        let pointer = [le(file.len()), le(count)].concat();
        file[table as usize * 8..][..8].copy_from_slice(&pointer);
        file.extend(slots.concat());
    }
    file
}

//! Checksums of what is written: CRC-32C per part and per MiB of directory.

use crate::format::checksum::Crc32c;
use crate::format::limits::DIRECTORY_CHECKSUM_STEP;
use crate::format::part_map::PartRecord;

/// Records of the parts, the last one still open. Bytes are taken from the output buffer as late as possible, in
/// large runs: parts consist of many short pieces.
#[derive(Default)]
pub struct PartSums {
    records: Vec<PartRecord>,
    sum: Crc32c,
    /// How much of the output buffer is in `sum`.
    summed: usize,
}

impl PartSums {
    /// A part begins at the end of `output`.
    pub fn begin(&mut self, output: &[u8], record: PartRecord) {
        self.close(output);
        self.records.push(record);
    }

    /// The output buffer is about to be cleared.
    pub fn update(&mut self, output: &[u8]) {
        self.sum.update(&output[self.summed..]);
        self.summed = 0;
    }

    /// The data region ends at the end of `output`.
    pub fn finish(&mut self, output: &[u8]) -> Vec<PartRecord> {
        self.close(output);
        std::mem::take(&mut self.records)
    }

    fn close(&mut self, output: &[u8]) {
        self.sum.update(&output[self.summed..]);
        self.summed = output.len();
        let sum = std::mem::take(&mut self.sum);
        if let Some(record) = self.records.last_mut() {
            record.crc32c = sum.finish();
        }
    }
}

/// CRC-32C of each MiB of the directory.
#[derive(Default)]
pub struct DirectorySums {
    table: Vec<u32>,
    sum: Crc32c,
    length: u64,
}

impl DirectorySums {
    pub fn length(&self) -> u64 {
        self.length
    }

    pub fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = DIRECTORY_CHECKSUM_STEP - self.length % DIRECTORY_CHECKSUM_STEP;
            let (now, later) = bytes.split_at(bytes.len().min(room as usize));
            self.sum.update(now);
            self.length += now.len() as u64;
            if self.length.is_multiple_of(DIRECTORY_CHECKSUM_STEP) {
                self.close();
            }
            bytes = later;
        }
    }

    /// The table, and the length of the directory in bytes.
    pub fn finish(&mut self) -> (Vec<u32>, u64) {
        if !self.length.is_multiple_of(DIRECTORY_CHECKSUM_STEP) {
            self.close();
        }
        (std::mem::take(&mut self.table), self.length)
    }

    fn close(&mut self) {
        let sum = std::mem::take(&mut self.sum);
        self.table.push(sum.finish());
    }
}

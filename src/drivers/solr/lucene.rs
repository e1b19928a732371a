//! What Lucene's own files say of themselves: the checksum at the end of each, and how many documents a commit point
//! holds. Pure.
//!
//! **Invariant:** a form that is not known gives no number, never a wrong one.

use flate2::Crc;

/// Begins a file; inverted, its footer.
const MAGIC: u32 = 0x3fd7_6c17;
/// Magic, algorithm, checksum.
const FOOTER: usize = 16;

/// The checksum of a file that comes in pieces.
#[derive(Debug, Default)]
pub(super) struct Sum {
    crc: Crc,
    /// The last bytes, which may be the footer.
    held: Vec<u8>,
}

/// How a file ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Sound(u64),
    /// It does not fit what stands before it.
    Broken,
    /// No footer.
    Unsigned,
}

impl Sum {
    pub fn update(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
        let done = self.held.len().saturating_sub(FOOTER);
        self.crc.update(&self.held[..done]);
        self.held.drain(..done);
    }

    pub fn end(mut self) -> Ending {
        let mut footer = Input(&self.held);
        let (Some(magic), Some(0), Some(sum)) = (footer.int(), footer.int(), footer.long()) else {
            return Ending::Unsigned;
        };
        if magic != !MAGIC {
            return Ending::Unsigned;
        }
        self.crc.update(&self.held[..8]);
        if u64::from(self.crc.sum()) == sum { Ending::Sound(sum) } else { Ending::Broken }
    }
}

/// A segment of a commit point: its name, and how many of its documents are deleted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub name: String,
    pub deleted: u32,
}

/// The segments that a file `segments_N` names: forms of Lucene 7.4 to 10.
pub(super) fn segments(file: &[u8]) -> Option<Vec<Segment>> {
    let mut input = Input(file);
    let form = input.header("segments")?;
    if !(9..=10).contains(&form) {
        return None;
    }
    for _ in 0..4 {
        input.varint()?;
    }
    input.long()?;
    input.varint()?;
    let count = input.int()?;
    if count > 0 {
        for _ in 0..3 {
            input.varint()?;
        }
    }
    let mut segments = Vec::new();
    for _ in 0..count {
        let name = input.text()?;
        input.skip(16)?;
        input.text()?;
        input.long()?;
        let deleted = input.int()?;
        input.long()?;
        input.long()?;
        let deleted = deleted.checked_add(input.int()?)?;
        if form > 9 && input.byte()? == 1 {
            input.skip(16)?;
        }
        input.texts()?;
        for _ in 0..input.int()? {
            input.int()?;
            input.texts()?;
        }
        segments.push(Segment { name, deleted });
    }
    Some(segments)
}

/// How many documents a segment has, the deleted ones among them, from its file `.si`.
pub(super) fn documents(file: &[u8]) -> Option<u32> {
    let mut input = Input(file);
    input.any_header("SegmentInfo")?;
    // From Lucene 9 on numbers stand the other way round; a version's number is small.
    let is_turned = input.clone().int()? > 0xffff;
    let mut number = || input.int().map(|number| if is_turned { number.swap_bytes() } else { number });
    number()?;
    number()?;
    number()?;
    if input.byte()? == 1 {
        input.skip(12)?;
    }
    input.int().map(|number| if is_turned { number.swap_bytes() } else { number })
}

/// Numbers with their highest byte first.
#[derive(Clone)]
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn skip(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.skip(1).map(|taken| taken[0])
    }

    fn int(&mut self) -> Option<u32> {
        self.skip(4)?.try_into().ok().map(u32::from_be_bytes)
    }

    fn long(&mut self) -> Option<u64> {
        self.skip(8)?.try_into().ok().map(u64::from_be_bytes)
    }

    /// Seven bits a byte, the lowest first.
    fn varint(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for shift in (0..63).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    fn text(&mut self) -> Option<String> {
        let length = usize::try_from(self.varint()?).ok()?;
        String::from_utf8(self.skip(length)?.to_vec()).ok()
    }

    fn texts(&mut self) -> Option<()> {
        for _ in 0..self.varint()? {
            self.text()?;
        }
        Some(())
    }

    /// The number of the form of a file of that kind.
    fn header(&mut self, kind: &str) -> Option<u32> {
        self.any_header(kind).filter(|(name, _)| name == kind).map(|(_, form)| form)
    }

    /// Of a kind whose name ends like that, and its name.
    fn any_header(&mut self, ends: &str) -> Option<(String, u32)> {
        if self.int()? != MAGIC {
            return None;
        }
        let name = self.text()?;
        let form = self.int()?;
        self.skip(16)?;
        let suffix = self.byte()?;
        self.skip(suffix.into())?;
        name.ends_with(ends).then_some((name, form))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Vec<u8> {
        let mut bytes = vec![u8::try_from(text.len()).expect("short")];
        bytes.extend(text.as_bytes());
        bytes
    }

    fn header(kind: &str, form: u32) -> Vec<u8> {
        let mut bytes = MAGIC.to_be_bytes().to_vec();
        bytes.extend(text(kind));
        bytes.extend(form.to_be_bytes());
        bytes.extend([7; 16]);
        bytes.extend(text("1"));
        bytes
    }

    fn signed(mut bytes: Vec<u8>) -> Vec<u8> {
        bytes.extend((!MAGIC).to_be_bytes());
        bytes.extend([0; 4]);
        let mut crc = Crc::new();
        crc.update(&bytes);
        bytes.extend(u64::from(crc.sum()).to_be_bytes());
        bytes
    }

    fn ending(bytes: &[u8], piece: usize) -> Ending {
        let mut sum = Sum::default();
        bytes.chunks(piece).for_each(|piece| sum.update(piece));
        sum.end()
    }

    #[test]
    fn a_file_is_checked_whatever_its_pieces() {
        let file = signed(b"some postings".to_vec());
        for piece in [1, 7, 16, 17, 1000] {
            assert!(matches!(ending(&file, piece), Ending::Sound(_)), "{piece}");
        }
        let mut torn = file.clone();
        torn[3] ^= 1;
        assert_eq!(ending(&torn, 5), Ending::Broken);
        assert_eq!(ending(&file[..file.len() - 1], 5), Ending::Unsigned);
        assert_eq!(ending(b"", 5), Ending::Unsigned);
    }

    /// Two segments, of which the second has deleted documents.
    fn commit(form: u32) -> Vec<u8> {
        let mut bytes = header("segments", form);
        bytes.extend([8, 7, 0, 8]);
        bytes.extend(5_u64.to_be_bytes());
        bytes.push(2);
        bytes.extend(2_u32.to_be_bytes());
        bytes.extend([8, 7, 0]);
        for (name, deleted) in [("_0", 0_u32), ("_1", 3)] {
            bytes.extend(text(name));
            bytes.extend([9; 16]);
            bytes.extend(text("Lucene87"));
            bytes.extend(u64::MAX.to_be_bytes());
            bytes.extend(deleted.to_be_bytes());
            bytes.extend([0xff; 16]);
            bytes.extend(0_u32.to_be_bytes());
            if form > 9 {
                bytes.push(1);
                bytes.extend([9; 16]);
            }
            bytes.push(0);
            bytes.extend(1_u32.to_be_bytes());
            bytes.extend(4_u32.to_be_bytes());
            bytes.push(1);
            bytes.extend(text("_1_1.dvd"));
        }
        bytes.push(0);
        signed(bytes)
    }

    #[test]
    fn a_commit_point_names_its_segments() {
        for form in [9, 10] {
            let found = segments(&commit(form)).expect("a known form");
            let found: Vec<(&str, u32)> = found.iter().map(|it| (it.name.as_str(), it.deleted)).collect();
            assert_eq!(found, [("_0", 0), ("_1", 3)], "{form}");
        }
        assert_eq!(segments(&commit(11)), None, "of a later form");
        assert_eq!(segments(&commit(10)[..90]), None, "cut off");
        assert_eq!(segments(b"<html>"), None);
    }

    #[test]
    fn a_segment_says_how_many_documents_it_has() {
        let write = |turned: bool| {
            let number = |number: u32| if turned { number.to_le_bytes() } else { number.to_be_bytes() };
            let mut bytes = header(if turned { "Lucene90SegmentInfo" } else { "Lucene86SegmentInfo" }, 0);
            [9, 8, 0].into_iter().for_each(|it| bytes.extend(number(it)));
            bytes.push(1);
            [9, 8, 0].into_iter().for_each(|it| bytes.extend(number(it)));
            bytes.extend(number(70_000));
            bytes
        };
        assert_eq!(documents(&write(false)), Some(70_000));
        assert_eq!(documents(&write(true)), Some(70_000));
        assert_eq!(documents(&header("segments", 10)), None);
    }
}

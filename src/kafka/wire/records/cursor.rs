//! How are the numbers of a record read?
//!
//! `None` says that the bytes end before the number does, or that it has more bits than it may.

/// Offset and length, which every format begins with; the length counts from there on.
pub(super) const PREFIX_BYTES: usize = 12;

/// The most bytes of a number of 32 bits.
pub(super) const VARINT_BYTES: usize = 5;

/// Bytes that are not read yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor<'a>(pub(super) &'a [u8]);

impl<'a> Cursor<'a> {
    /// A signed number of variable length and at most 32 bits.
    #[inline]
    pub(super) fn varint(&mut self) -> Option<i32> {
        let value = self.unsigned(5)?;
        let value = u32::try_from(value).ok()?;
        Some((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    /// A signed number of variable length and at most 64 bits.
    #[inline]
    pub(super) fn varlong(&mut self) -> Option<i64> {
        let value = self.unsigned(10)?;
        Some((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    /// The next bytes.
    #[inline]
    pub(super) fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(taken)
    }

    /// As many bytes as an array has.
    #[inline]
    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    #[inline]
    fn unsigned(&mut self, most: u32) -> Option<u64> {
        let (first, rest) = self.0.split_first()?;
        // Most numbers of a record have one byte.
        if *first < 0x80 {
            self.0 = rest;
            return Some(u64::from(*first));
        }
        let mut value = u64::from(*first & 0x7f);
        let mut rest = rest;
        for place in 1..most {
            let (byte, after) = rest.split_first()?;
            rest = after;
            let bits = u64::from(*byte & 0x7f);
            let shift = place.checked_mul(7)?;
            // Of the tenth byte one bit is left.
            if shift == 63 && bits > 1 {
                return None;
            }
            value |= bits << shift;
            if *byte < 0x80 {
                self.0 = rest;
                return Some(value);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_read_or_is_none() {
        let rows = [
            ("zero", &[0][..], Some(0), Some(0)),
            ("minus one", &[1], Some(-1), Some(-1)),
            ("two bytes", &[0xac, 2], Some(150), Some(150)),
            (
                "the highest of 32 bits",
                &[0xfe, 0xff, 0xff, 0xff, 0xf],
                Some(i32::MAX),
                Some(i32::MAX.into()),
            ),
            (
                "the lowest of 32 bits",
                &[0xff, 0xff, 0xff, 0xff, 0xf],
                Some(i32::MIN),
                Some(i32::MIN.into()),
            ),
            ("33 bits", &[0xff, 0xff, 0xff, 0xff, 0x1f], None, Some(-0x1_0000_0000)),
            (
                "the highest of 64 bits",
                &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
                None,
                Some(i64::MAX),
            ),
            ("65 bits", &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 3], None, None),
            ("without an end", &[0x80; 11], None, None),
            ("cut", &[0x80], None, None),
            ("nothing", &[], None, None),
        ];
        for (name, bytes, short, long) in rows {
            assert_eq!(Cursor(bytes).varint(), short, "{name}");
            assert_eq!(Cursor(bytes).varlong(), long, "{name}");
        }
    }
}

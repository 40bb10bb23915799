//! Where the frames of a WebSocket begin (RFC 6455, 5.2), in bytes that only pass through here: what is said in between must not fall
//! into one of somebody else's.

/// The bytes of a head that say how long it is, and of a length that follows them.
const SHORTEST: usize = 2;
/// Lengths up to this are in the second byte; what is more says how many bytes have it.
const IN_TWO_BYTES: u8 = 126;
const IN_EIGHT_BYTES: u8 = 127;
/// The bit of the second byte that says that a mask of four bytes follows the length.
const MASKED: u8 = 0x80;
/// Final, and a Close (5.5.1).
const CLOSE: u8 = 0x88;

/// What was seen of the frame that passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Its head, as far as it has come.
    Head { bytes: [u8; 10], came: usize },
    /// What is left of its mask and its payload.
    Rest(u64),
}

/// Follows the frames of one direction.
#[derive(Debug)]
pub(crate) struct Frames(Part);

impl Frames {
    const BEGIN: Part = Part::Head {
        bytes: [0; 10],
        came: 0,
    };

    /// Of a socket that has just been opened.
    pub(crate) fn new() -> Self {
        Self(Self::BEGIN)
    }

    /// Whether the next byte is the first of a frame.
    pub(crate) fn is_between(&self) -> bool {
        self.0 == Self::BEGIN
    }

    /// Sees bytes that pass.
    pub(crate) fn pass(&mut self, mut bytes: &[u8]) {
        while let Some((first, others)) = bytes.split_first() {
            match &mut self.0 {
                Part::Head { bytes: head, came } => {
                    head[*came] = *first;
                    *came += 1;
                    bytes = others;
                    if let Some(rest) = rest(&head[..*came]) {
                        self.0 = Part::Rest(rest);
                    }
                }
                Part::Rest(left) => {
                    let now = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                    *left = left.saturating_sub(u64::try_from(now).unwrap_or(u64::MAX));
                    bytes = &bytes[now..];
                }
            }
            if self.0 == Part::Rest(0) {
                self.0 = Self::BEGIN;
            }
        }
    }
}

/// What follows a head, in bytes; `None` while it has not come whole.
fn rest(head: &[u8]) -> Option<u64> {
    let second = *head.get(1)?;
    let mask = if second & MASKED == 0 { 0 } else { 4 };
    let length = match second & !MASKED {
        IN_TWO_BYTES => u64::from(u16::from_be_bytes(head.get(SHORTEST..4)?.try_into().ok()?)),
        IN_EIGHT_BYTES => u64::from_be_bytes(head.get(SHORTEST..10)?.try_into().ok()?),
        length => u64::from(length),
    };
    Some(length.saturating_add(mask))
}

/// A server's Close. `None` for a reason that is too long for a frame that may not be split (125 bytes with the code).
pub(crate) fn close(code: u16, reason: &str) -> Option<Vec<u8>> {
    let length = u8::try_from(reason.len() + 2)
        .ok()
        .filter(|length| *length < IN_TWO_BYTES)?;
    let mut frame = vec![CLOSE, length];
    frame.extend(code.to_be_bytes());
    frame.extend(reason.as_bytes());
    Some(frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(length: usize, masked: bool) -> Vec<u8> {
        let mask = if masked { MASKED } else { 0 };
        let mut frame = vec![0x81];
        match length {
            0..126 => frame.push(mask | u8::try_from(length).unwrap()),
            126..=65_535 => {
                frame.push(mask | IN_TWO_BYTES);
                frame.extend(u16::try_from(length).unwrap().to_be_bytes());
            }
            _ => {
                frame.push(mask | IN_EIGHT_BYTES);
                frame.extend(u64::try_from(length).unwrap().to_be_bytes());
            }
        }
        // Payloads that look like heads.
        frame.extend(vec![0x81; length + if masked { 4 } else { 0 }]);
        frame
    }

    #[test]
    fn the_ends_of_frames_are_seen_and_nothing_else_is_one() {
        let lengths = [0, 1, 125, 126, 127, 300, 65_535, 65_536, 70_000];
        let all: Vec<Vec<u8>> = lengths
            .iter()
            .flat_map(|length| [frame(*length, false), frame(*length, true)])
            .collect();
        let stream = all.concat();
        let mut ends = std::collections::HashSet::from([0]);
        let mut end = 0;
        for frame in &all {
            end += frame.len();
            ends.insert(end);
        }
        for step in [1, 2, 3, 7, 1_000, 8_192, stream.len()] {
            let (mut frames, mut at) = (Frames::new(), 0);
            for bytes in stream.chunks(step) {
                frames.pass(bytes);
                at += bytes.len();
                assert_eq!(frames.is_between(), ends.contains(&at), "at {at} by {step}");
            }
        }
    }

    #[test]
    fn a_length_that_nobody_sends_is_no_end() {
        let mut frames = Frames::new();
        frames.pass(&[0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
        frames.pass(&[0; 1_000]);
        assert!(!frames.is_between());
    }

    #[test]
    fn a_close_has_its_code_and_its_reason() {
        assert_eq!(close(1012, "go").unwrap(), [0x88, 4, 0x03, 0xf4, b'g', b'o']);
        assert_eq!(close(1012, &"x".repeat(123)).map(|frame| frame.len()), Some(127));
        assert_eq!(close(1012, &"x".repeat(124)), None);
    }
}

//! Where WebSocket frames begin and end (RFC 6455 §5.2), without looking into them: enough to put a
//! close frame between two frames of a stream that is otherwise passed on byte for byte. Pure.

/// The longest frame head: 2 bytes, 8 of length, 4 of mask.
const MAX_HEAD: usize = 14;
/// The longest payload of a control frame, less the close code.
const MAX_REASON: usize = 123;
/// The opcode of a close frame.
const CLOSE: u8 = 0x8;

/// Follows one direction of a WebSocket.
#[derive(Debug, Default)]
pub struct FrameTracker {
    head: [u8; MAX_HEAD],
    head_len: usize,
    /// Bytes of the current frame's payload that are still to come.
    payload_left: u64,
    has_closed: bool,
}

impl FrameTracker {
    /// Takes in the next bytes of the stream.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.payload_left > 0 {
                let skipped = usize::try_from(self.payload_left).unwrap_or(usize::MAX).min(bytes.len());
                self.payload_left -= skipped as u64;
                bytes = &bytes[skipped..];
            } else {
                self.head[self.head_len] = bytes[0];
                self.head_len += 1;
                bytes = &bytes[1..];
                if self.head_len >= 2 && self.head_len == self.wanted_head_len() {
                    self.payload_left = self.payload_len();
                    self.has_closed |= self.head[0] & 0x0f == CLOSE;
                    self.head_len = 0;
                }
            }
        }
    }

    /// Whether the last byte that was fed ended a frame.
    pub fn is_between_frames(&self) -> bool {
        self.head_len == 0 && self.payload_left == 0
    }

    /// Whether a close frame has begun: nothing of meaning follows it.
    pub fn has_closed(&self) -> bool {
        self.has_closed
    }

    fn wanted_head_len(&self) -> usize {
        let length = match self.head[1] & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let mask = if self.head[1] & 0x80 != 0 { 4 } else { 0 };
        2 + length + mask
    }

    fn payload_len(&self) -> u64 {
        match self.head[1] & 0x7f {
            126 => u64::from(u16::from_be_bytes([self.head[2], self.head[3]])),
            127 => u64::from_be_bytes(self.head[2..10].try_into().expect("eight bytes")),
            length => u64::from(length),
        }
    }
}

/// A close frame as a server sends it: unmasked. What is longer than a control frame can hold is
/// cut off.
pub fn server_close(code: u16, reason: &str) -> Vec<u8> {
    let (length, payload) = close_payload(code, reason);
    [&[0x88, length], payload.as_slice()].concat()
}

/// A close frame as a client must send it: masked.
pub fn client_close(code: u16, reason: &str, mask: [u8; 4]) -> Vec<u8> {
    let (length, payload) = close_payload(code, reason);
    let masked = payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask);
    [0x88, 0x80 | length].into_iter().chain(mask).chain(masked).collect()
}

fn close_payload(code: u16, reason: &str) -> (u8, Vec<u8>) {
    let reason = &reason.as_bytes()[..reason.len().min(MAX_REASON)];
    let payload = [&code.to_be_bytes(), reason].concat();
    (u8::try_from(payload.len()).expect("at most 125 bytes"), payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(payload: usize, masked: bool) -> Vec<u8> {
        let mask_bit = if masked { 0x80 } else { 0 };
        let mut frame = vec![0x82];
        match (u8::try_from(payload), u16::try_from(payload)) {
            (Ok(short @ 0..126), _) => frame.push(mask_bit | short),
            (_, Ok(medium)) => {
                frame.push(mask_bit | 126);
                frame.extend(medium.to_be_bytes());
            }
            _ => {
                frame.push(mask_bit | 127);
                frame.extend((payload as u64).to_be_bytes());
            }
        }
        frame.extend(std::iter::repeat_n(0xff, payload + if masked { 4 } else { 0 }));
        frame
    }

    #[test]
    fn every_frame_boundary_is_found_however_the_bytes_are_split() {
        let frames: Vec<Vec<u8>> = [0, 1, 125, 126, 300, 65_535, 65_536, 70_000]
            .into_iter()
            .flat_map(|payload| [frame(payload, false), frame(payload, true)])
            .collect();
        let ends: Vec<usize> = frames
            .iter()
            .scan(0, |end, frame| {
                *end += frame.len();
                Some(*end)
            })
            .collect();
        let stream = frames.concat();
        for step in [1, 2, 3, 7, 1000, 65_537] {
            let mut boundary = FrameTracker::default();
            let mut fed = 0;
            for chunk in stream.chunks(step) {
                boundary.feed(chunk);
                fed += chunk.len();
                assert_eq!(boundary.is_between_frames(), ends.contains(&fed), "step {step}, byte {fed}");
            }
        }
    }

    #[test]
    fn close_frames_carry_code_and_reason() {
        assert_eq!(server_close(4003, "token revoked"), [&[0x88, 15, 0x0f, 0xa3][..], b"token revoked"].concat());
        let masked = client_close(1001, "", [1, 2, 3, 4]);
        assert_eq!(masked, [0x88, 0x82, 1, 2, 3, 4, 0x03 ^ 1, 0xe9 ^ 2]);
        let mut boundary = FrameTracker::default();
        boundary.feed(&frame(10, true));
        assert!(!boundary.has_closed());
        boundary.feed(&server_close(4003, &"x".repeat(500)));
        assert!(boundary.is_between_frames() && boundary.has_closed());
    }
}

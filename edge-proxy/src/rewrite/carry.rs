//! What a stream holds back between two chunks.

use bytes::Bytes;

/// The bytes held back, followed by the new chunk. Copies nothing where no bytes are held.
pub fn after_held(held: &mut Vec<u8>, chunk: Bytes) -> Bytes {
    if held.is_empty() {
        return chunk;
    }
    let mut text = std::mem::take(held);
    text.extend_from_slice(&chunk);
    Bytes::from(text)
}

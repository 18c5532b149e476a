//! What master and workers say to each other, as pure codecs: bytes and words in, meaning or an
//! error out. Who carries them is another matter.

pub mod batch;
#[cfg(feature = "master")]
pub mod control;
pub mod handshake;
pub mod message;
pub mod offer;
#[cfg(feature = "master")]
pub mod route;
#[cfg(feature = "master")]
pub mod words;

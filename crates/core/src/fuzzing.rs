//! What fuzz targets call of otherwise private parsers.

pub use crate::backend::lxc::read_json;
pub use crate::operations::unpack_stream;

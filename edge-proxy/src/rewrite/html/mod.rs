//! What is changed in HTML besides origins: integrity attributes, and the script of the time left.

pub mod integrity;
mod markup;
pub mod scanner;
pub mod script;
pub mod skip;

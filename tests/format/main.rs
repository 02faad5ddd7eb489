//! The format as a whole: what the writer makes, the readers take apart again, and nothing else.

mod bit_flips;
mod build;
mod consume;
mod directory_rules;
mod foreign_files;
mod fuzz_cases;
mod parts;
mod properties;
mod rules;
mod streams;
mod vector_set;
mod vectors;

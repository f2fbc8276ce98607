//! How long functions are, and how many fields a struct has.

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use super::source::{self, File};

/// A function.
pub struct Function {
    pub name: String,
    /// From its name to the end of its body.
    pub lines: usize,
}

/// The functions of a file, tests left out.
pub fn functions(file: &File) -> Vec<Function> {
    let mut functions = Vec::new();
    collect(source::tokens(&file.path, file.without_tests()), &mut functions);
    functions
}

fn collect(tokens: TokenStream, functions: &mut Vec<Function>) {
    let mut begun: Option<(String, usize)> = None;
    let mut is_named_next = false;
    for token in tokens {
        match token {
            TokenTree::Ident(word) if word == "fn" => is_named_next = true,
            TokenTree::Ident(name) if is_named_next => {
                begun = Some((name.to_string(), name.span().start().line));
                is_named_next = false;
            }
            TokenTree::Punct(end) if end.as_char() == ';' => begun = None,
            TokenTree::Group(group) => {
                if group.delimiter() == Delimiter::Brace
                    && let Some((name, from)) = begun.take()
                {
                    functions.push(Function { name, lines: group.span_close().end().line - from + 1 });
                }
                collect(group.stream(), functions);
            }
            _ => is_named_next = false,
        }
    }
}

/// How many fields the struct of this name has, if the file defines it.
pub fn fields(file: &File, name: &str) -> Option<usize> {
    let mut tokens = source::tokens(&file.path, file.without_tests()).into_iter();
    while let Some(token) = tokens.next() {
        let is_struct = matches!(&token, TokenTree::Ident(word) if word == "struct");
        if is_struct && matches!(tokens.next(), Some(TokenTree::Ident(named)) if named == name) {
            let body = tokens.find_map(|token| match token {
                TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => Some(group.stream()),
                _ => None,
            });
            return body.map(count);
        }
    }
    None
}

/// The fields in the body of a struct: each ends with a comma that stands in no angle brackets.
fn count(body: TokenStream) -> usize {
    let (mut fields, mut depth, mut is_begun) = (0, 0_usize, false);
    for token in body {
        match token {
            TokenTree::Punct(punct) if punct.as_char() == '<' => depth += 1,
            TokenTree::Punct(punct) if punct.as_char() == '>' => depth = depth.saturating_sub(1),
            TokenTree::Punct(punct) if punct.as_char() == ',' && depth == 0 => {
                fields += usize::from(is_begun);
                is_begun = false;
            }
            _ => is_begun = true,
        }
    }
    fields + usize::from(is_begun)
}

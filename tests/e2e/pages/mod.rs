//! What people see, in Chromium.

mod browser;
mod console_in_browser;
mod every_page;
pub mod gateway_pages;
mod journeys;
mod taking_over;
mod time_left;
mod without_scripts;

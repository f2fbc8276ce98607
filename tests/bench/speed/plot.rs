//! Bars with their spread, as SVG.

use std::path::Path;

use anyhow::Context;
use plotters::{
    coord::ranged1d::{IntoSegmentedCoord, SegmentValue},
    prelude::{ChartBuilder, Color, IntoDrawingArea, PathElement, RGBColor, Rectangle, SVGBackend, WHITE},
};

use super::spread::Spread;

const WIDTH: u32 = 900;
const BAR_HEIGHT: u32 = 34;
const EDGE: RGBColor = RGBColor(31, 119, 180);
const OTHER: RGBColor = RGBColor(170, 170, 170);
const LINE: RGBColor = RGBColor(40, 40, 40);

/// A bar as long as its median, with a line from the least to the most.
pub struct Bar {
    pub name: String,
    pub spread: Spread,
}

/// Draws two bars or more below a title into a file; those of the edge have a colour of their own.
pub fn bars(path: &Path, title: &str, bars: &[Bar]) -> anyhow::Result<()> {
    draw(path, title, bars).with_context(|| format!("cannot draw {}", path.display()))
}

fn draw(path: &Path, title: &str, bars: &[Bar]) -> anyhow::Result<()> {
    let count = bars.len();
    let longest = bars.iter().map(|bar| bar.spread.most).fold(0.0, f64::max);
    let height = u32::try_from(count)? * BAR_HEIGHT + 110;
    let area = SVGBackend::new(path, (WIDTH, height)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(230)
        .build_cartesian_2d(0.0..longest * 1.05, (0..count - 1).into_segmented())?;
    // From the top, as in a table.
    let place = |index: usize| count - 1 - index;
    let name = |value: &SegmentValue<usize>| match value {
        SegmentValue::CenterOf(at) if *at < count => bars[place(*at)].name.clone(),
        _ => String::new(),
    };
    chart
        .configure_mesh()
        .disable_y_mesh()
        .y_labels(count)
        .y_label_formatter(&name)
        .label_style(("sans-serif", 14))
        .draw()?;
    for (index, bar) in bars.iter().enumerate() {
        let at = place(index);
        let colour = if bar.name.starts_with("edge") { EDGE } else { OTHER };
        let above = if at + 1 < count { SegmentValue::Exact(at + 1) } else { SegmentValue::Last };
        let corners = [(0.0, SegmentValue::Exact(at)), (bar.spread.median, above)];
        let mut shape = Rectangle::new(corners, colour.filled());
        shape.set_margin(5, 5, 0, 0);
        chart.draw_series([shape])?;
        let ends = [bar.spread.least, bar.spread.most].map(|end| (end, SegmentValue::CenterOf(at)));
        chart.draw_series([PathElement::new(ends, LINE.stroke_width(2))])?;
    }
    area.present()?;
    Ok(())
}

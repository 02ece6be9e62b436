/// Rows and columns for a terminal: every column as wide as its widest cell, two spaces between them.
struct Table {
    private var rows: [[String]]
    private let rightAligned: Set<Int>

    /// A table with these headings; numbers read better in right-aligned columns.
    init(_ headings: [String], rightAligned: Set<Int> = []) {
        rows = [headings]
        self.rightAligned = rightAligned
    }

    /// Adds a row. Control characters are escaped: the text may come from any agent.
    mutating func add(_ cells: [String]) { rows.append(cells.map(printable)) }

    /// The lines, without blanks at their ends.
    var text: String {
        let columns = rows[0].count
        let widths = (0..<columns).map { column in rows.map { column < $0.count ? $0[column].count : 0 }.max() ?? 0 }
        return rows.map { row in
            var line = ""
            for (column, cell) in row.enumerated() {
                let blanks = String(repeating: " ", count: widths[column] - cell.count)
                line += (column > 0 ? "  " : "") + (rightAligned.contains(column) ? blanks + cell : cell + blanks)
            }
            let end = line.lastIndex { $0 != " " }.map { line.index(after: $0) } ?? line.startIndex
            return line[..<end] + "\n"
        }.joined()
    }
}

/// `value` with so many decimals, rounded half away from zero.
func fixed(_ value: Double, _ decimals: Int) -> String {
    guard value.isFinite, abs(value) < 1e15 else { return "\(value)" }
    var factor: Int64 = 1
    for _ in 0..<decimals { factor *= 10 }
    let whole = Int64((abs(value) * Double(factor)).rounded())
    let sign = value < 0 && whole > 0 ? "-" : ""
    if decimals == 0 { return "\(sign)\(whole)" }
    let fraction = String(whole % factor)
    return "\(sign)\(whole / factor).\(String(repeating: "0", count: decimals - fraction.count))\(fraction)"
}

/// `value` from 0 to 1 as a bar of at most `width` characters, in eighths of one.
func bar(_ value: Double, width: Int) -> String {
    let eighths = Int((min(1, max(0, value)) * Double(width) * 8).rounded())
    let parts = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"]
    return String(repeating: "█", count: eighths / 8) + parts[eighths % 8]
}

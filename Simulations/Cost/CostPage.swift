/// The page of the cost table, in Markdown.
struct CostPage {
    let rows: [CostCommand.Row]
    let command: CostCommand

    var text: String { rows.map { "\($0)" }.joined(separator: "\n") }
}

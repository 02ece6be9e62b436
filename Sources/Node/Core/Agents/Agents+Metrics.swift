/// Who is known, and by what.
extension Agents {
    func writeMetrics(into out: inout MetricsWriter) {
        out.gauge("agents", "Agents that are introduced, as last read.", count)
        out.gauge("agent_terms", "Different texts that agents are found by.", termCount)
        out.counter("agents_refused_total", "Agents not introduced at the bound.", refused)
    }
}

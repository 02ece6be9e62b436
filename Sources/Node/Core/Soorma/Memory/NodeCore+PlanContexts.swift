import CRDT
import Gossip

/// What planners keep of plans (docs/soorma-memory.md): the document `plan-context/<tenant>/<plan>`, one field for each
/// member, and `status`, what the state says of itself, written with it.
extension NodeCore {
    /// `POST` makes a context or writes over it; `PUT`, which names the plan, writes what it names.
    mutating func writePlanContext(
        _ request: RequestID, _ named: String? = nil, of tenancy: Tenancy, _ bytes: RawSpan, now: Instant,
        into effects: inout Effects
    ) throws(NodeError) {
        try checkWritable()
        let body = try Body(soorma: bytes)
        let plan: String
        if let named { plan = named } else { plan = try body.requiredText("planId") }
        let key = Tenancy.key(tenancy.tenant, plan)
        let old = MemoryDocument(.planContext, key, documents)
        var changes = MemoryChanges(old)
        if named != nil {
            guard old != nil else { throw .unknownPlanContext(plan) }
        } else {
            try changes.setGoal(body)
            try changes.set("responseEvent", text: try body.memoryText("responseEvent"))
        }
        let state = try body.object("state").map { JSONValue.object($0) } ?? (old == nil ? .object([]) : nil)
        if let state, old?["state"] != state.encoded() {
            try changes.set("state", state)
            if let status = state["status"]?.string, status.utf8.count <= Body.maximumTextBytes {
                // With the state, even if it is the same: so both have one stamp.
                try changes.set("status", JSONValue.string(status).encoded(), always: true)
            } else {
                changes.unset("status")
            }
        }
        try changes.set("currentState", text: try body.memoryText("currentState"))
        if let ids = try body.anyTexts("correlationIds", most: memories.maximumParts) ?? (old == nil ? [] : nil) {
            try changes.set("correlationIds", .texts(ids))
        }
        let reply = try writeMemory(.planContext, key, changes, now: now, into: &effects)
        try showPlanContext(request, plan, of: tenancy, reply, into: &effects)
    }

    func showPlanContext(
        _ request: RequestID, _ plan: String, of tenancy: Tenancy, _ reply: Reply = Reply(status: 200),
        into effects: inout Effects
    ) throws(NodeError) {
        let key = Tenancy.key(tenancy.tenant, plan)
        guard let document = MemoryDocument(.planContext, key, documents) else { throw .unknownPlanContext(plan) }
        show(request, reply, into: &effects) { out in
            out.append(constant: "{\"tenantId\":")
            out.append(json: tenancy.tenant)
            out.append(member: "planId", json: plan)
            out.append(member: "sessionId", json: document["sessionId"])
            out.append(member: "goalEvent", json: document["goalEvent"] ?? Array("\"\"".utf8))
            out.append(member: "goalData", json: document["goalData"] ?? Array("{}".utf8))
            out.append(member: "responseEvent", json: document["responseEvent"])
            out.append(member: "state", json: document["state"] ?? Array("{}".utf8))
            out.append(member: "currentState", json: document["currentState"])
            out.append(member: "correlationIds", json: document["correlationIds"] ?? Array("[]".utf8))
            out.append(member: "createdAt", time: document.created)
            out.append(member: "updatedAt", time: document.updated)
            out.append(UInt8(ascii: "}"))
        }
    }

    /// Asked for every result of an action, most of which belong to no plan.
    mutating func showPlanContext(
        _ request: RequestID, ofCorrelation id: String, of tenancy: Tenancy, into effects: inout Effects
    ) throws(NodeError) {
        memories.refreshPlanContexts(documents)
        guard let key = memories.planContexts.newest(Array(id.utf8), of: tenancy),
            let plan = Tenancy.parts(key).last
        else {
            throw .notFound("no plan of this tenant has the correlation id \(id.prefix(64)); its context names them")
        }
        try showPlanContext(request, plan, of: tenancy, into: &effects)
    }
}

extension NodeError {
    fileprivate static func unknownPlanContext(_ plan: String) -> NodeError {
        .notFound("no context of plan \(plan.prefix(64)) for this tenant; POST /v1/memory/plan-context keeps one")
    }
}

// Whether Grafana's own types allow a dashboard: `node check.mjs <dashboard.json>`, beside
// node_modules. It prints what they do not allow.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import ts from "typescript";

const dashboard = JSON.parse(readFileSync(process.argv[2], "utf8"));
const { panels, ...rest } = dashboard;
const types = "@grafana/schema/dist/types/raw";
const panel = `${types}/composable`;
const lines = [
  `import type { Dashboard, Panel, RowPanel } from "${types}/dashboard/x/types.gen";`,
  `import type * as stat from "${panel}/stat/panelcfg/x/types.gen";`,
  `import type * as timeseries from "${panel}/timeseries/panelcfg/x/types.gen";`,
  // JSON has no enums: their values stand for them.
  `type Json<T> = T extends string ? \`\${T}\` : T extends number ? number
    : T extends (infer U)[] ? Json<U>[] : T extends object ? { [K in keyof T]: Json<T[K]> } : T;`,
];
const declare = (type, value) =>
  lines.push(`export const v${lines.length}: Json<${type}> = ${JSON.stringify(value)};`);

declare(`Omit<Dashboard, "panels">`, rest);
for (const one of panels) {
  if (one.type === "row") {
    declare("RowPanel", one);
    continue;
  }
  declare("Panel", one);
  declare(`Partial<${one.type}.Options>`, one.options);
  if (one.type === "timeseries") {
    declare("timeseries.FieldConfig", one.fieldConfig.defaults.custom);
  }
}

const options = {
  noEmit: true,
  strict: true,
  skipLibCheck: true,
  types: [],
  target: ts.ScriptTarget.ES2022,
  module: ts.ModuleKind.ESNext,
  moduleResolution: ts.ModuleResolutionKind.Node10,
};
const host = ts.createCompilerHost(options);
const file = fileURLToPath(new URL("dashboard.ts", import.meta.url));
const text = lines.join("\n");
const { getSourceFile, fileExists, readFile } = host;
host.getSourceFile = (name, version) =>
  name === file ? ts.createSourceFile(name, text, version) : getSourceFile.call(host, name, version);
host.fileExists = (name) => name === file || fileExists.call(host, name);
host.readFile = (name) => (name === file ? text : readFile.call(host, name));
const program = ts.createProgram([file], options, host);
const found = ts.getPreEmitDiagnostics(program);
for (const one of found) {
  console.log(ts.flattenDiagnosticMessageText(one.messageText, "\n"));
}
process.exit(found.length === 0 ? 0 : 1);

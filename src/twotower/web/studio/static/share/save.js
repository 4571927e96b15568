/* Files for the reader to keep. */

import { h } from "../shared/dom.js";

/** Let the browser save a Blob under a name. */
export function save(blob, name) {
  const url = URL.createObjectURL(blob);
  const link = h("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

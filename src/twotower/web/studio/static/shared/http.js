/* HTTP requests and their errors. */

export class ServiceError extends Error {
  constructor(status, code, message, fix) {
    super(message);
    Object.assign(this, { status, code, fix });
  }
}

/** Fetch; throws a `ServiceError` unless the response is successful. */
export async function reach(path, options) {
  let answer;
  try {
    // Relative to the page, which a proxy may serve under a path prefix.
    answer = await fetch(path.replace(/^\//, ""), options);
  } catch {
    throw new ServiceError(0, "unreachable", "The service is not reachable.", "start it again and reload this page");
  }
  if (answer.ok) return answer;
  throw await problem(answer);
}

async function problem(answer) {
  try {
    const { error, detail } = await answer.json();
    if (error) return new ServiceError(answer.status, error.code, error.message, error.fix);
    return new ServiceError(answer.status, "refused", typeof detail === "string" ? detail : "The request was rejected.", "");
  } catch {
    return new ServiceError(answer.status, "refused", `The service returned status ${answer.status}.`, "");
  }
}

SwaggerUIBundle({
  url: new URL("openapi.json", location.href).href,
  dom_id: "#api",
  deepLinking: true,
  // The badge would send the document's address to another host.
  validatorUrl: "none",
  defaultModelsExpandDepth: 0,
  syntaxHighlight: false,
});

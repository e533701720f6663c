"""The pages and their files, sent with the headers that let them use a microphone safely."""

from aiohttp import hdrs, web

from anivoice.server.state import APP_STATE

GREETING = "AniVoiceChanger API is running"
POLICY = (
    "default-src 'none'; script-src 'self'; worker-src 'self'; style-src 'self' 'unsafe-inline'; "
    "connect-src 'self' blob:; media-src 'self' blob:; img-src 'self' blob: data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
"""Scripts, workers and worklets from our own files alone. wavesurfer.js puts a style sheet into its shadow root."""

PAGE_HEADERS = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "microphone=(self)",
    # Both together isolate the page, so that browsers give it shared memory.
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    # client.js and what it imports are for other pages, too.
    "Cross-Origin-Resource-Policy": "cross-origin",
    "Cache-Control": "no-cache",
}


def add_page_routes(app: web.Application) -> None:
    router = app.router
    router.add_get("/", greet)
    for path in ("/docs", "/client.js", "/obs", "/web/{path:.+}"):
        router.add_get(path, show_file)


async def greet(request: web.Request) -> web.Response:
    """The page for browsers, for programs a sign of life."""
    if "text/html" in request.headers.get("Accept", ""):
        return await show_file(request)
    return web.json_response({"message": GREETING}, headers={"Vary": "Accept"})


async def show_file(request: web.Request) -> web.Response:
    """Raises HTTPNotFound."""
    file = request.app[APP_STATE].web_files.get(request.path)
    if file is None:
        raise web.HTTPNotFound
    headers = {**PAGE_HEADERS, "ETag": f'"{file.etag}"', "Vary": "Accept"}
    if any(known.value in (file.etag, "*") for known in request.if_none_match or ()):
        return web.Response(status=304, headers=headers)
    headers[hdrs.CONTENT_TYPE] = file.content_type
    return web.Response(body=file.body, headers=headers)

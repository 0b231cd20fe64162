"""The server of `actlas explore`: pages, and the answers of their queries. The only home of the web's libraries."""

# docker build -t mneme . && docker run -d --name mneme -p 3847:3847 -v mneme:/data -e MNEME_API_KEYS=a-long-random-key mneme
FROM python:3.13-slim AS build
COPY . /src
RUN pip wheel --no-cache-dir --wheel-dir /wheels /src

FROM python:3.13-slim
COPY --from=build /wheels /wheels
# getPlugins writes Twisted's list of plugins, which the user of the daemon may not write.
RUN pip install --no-cache-dir --no-index --find-links /wheels mneme \
    && python -c "from twisted.plugin import IPlugin, getPlugins; list(getPlugins(IPlugin))" \
    && useradd --uid 3847 --home-dir /data --no-create-home mneme \
    && install -d -o mneme -g mneme -m 0700 /data
USER mneme
ENV MNEME_DATA_DIR=/data
VOLUME /data
EXPOSE 3847
# Without keys the daemon listens on loopback only, and inside a container that is nobody. So set MNEME_API_KEYS, or, in a
# network where everybody may read and write everybody's memory, MNEME_HOST=::. For a config.json, mount it and name it
# in MNEME_CONFIG.
HEALTHCHECK --start-period=10s CMD ["python", "-c", "import os, urllib.request as web; web.urlopen('http://localhost:' + os.environ.get('MNEME_PORT', '3847') + '/health', timeout=5)"]
ENTRYPOINT ["twistd", "--nodaemon", "--pidfile=", "mneme"]
